"""The fleet: the hubs of all clinics as one operator sees them, what each is to run, and how a release comes to them."""
