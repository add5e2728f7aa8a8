"""Running models over whole datasets: in blocks, batched, on all cores, on any runtime."""
