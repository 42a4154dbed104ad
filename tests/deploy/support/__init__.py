"""What the tests of deployment share: tools, charts, pods, and stand-ins for a cluster."""
