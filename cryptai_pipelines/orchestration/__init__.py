"""The shell around the pure rooms: what is read, computed, written and reported, and when. Only this room imports dagster,
and within it only the modules that define Dagster objects: `chain` does not, so the command line runs it at once."""
