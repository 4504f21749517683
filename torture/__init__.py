"""`python -m torture`: kills, crashes, full disks and power cuts, and a checker that proves nothing was lost."""
