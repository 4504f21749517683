"""How the box is found on its network, and how it is known to be itself."""
