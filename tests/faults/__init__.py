"""What happens when everything goes wrong: kills, outages, broken destinations, hostile bytes, and a long run.

`make test-faults` runs it. Every size has a default that ends in minutes and an environment variable, listed in
`sizes.py`, for more; everything random comes from SPANBRIDGE_FAULTS_SEED.
"""
