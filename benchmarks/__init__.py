"""Conveyor beside its peers and beside the limits of what is possible. See README.md."""
