"""What the program tells of itself: metrics, logs, and the process as the system sees it."""
