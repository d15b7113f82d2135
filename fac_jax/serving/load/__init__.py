"""A load test of the realtime protocol, for a server on this machine."""
