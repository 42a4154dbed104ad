"""`file_storage`: the directory of the journals."""
