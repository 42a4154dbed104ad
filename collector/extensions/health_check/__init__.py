"""`health_check`: what orchestrators ask."""
