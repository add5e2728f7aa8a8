"""Latency: estimated for a device from measurements that were published, measured on this host."""
