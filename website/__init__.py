"""Makes the site of the lab: `make docs`."""
