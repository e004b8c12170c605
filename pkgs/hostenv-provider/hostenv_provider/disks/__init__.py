"""Room on the disks that the provider writes."""
