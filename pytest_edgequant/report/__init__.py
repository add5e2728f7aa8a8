"""Reports from one result set, one file a format."""
