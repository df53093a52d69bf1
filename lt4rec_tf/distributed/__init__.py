"""Several devices and machines: replicas, parameter servers, shards, clusters."""
