"""What the tests of faults share: clients, destinations that misbehave, slow disks, fuzz targets."""
