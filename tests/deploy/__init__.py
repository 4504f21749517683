"""What ships for the cloud side, checked with the tools it ships for."""
