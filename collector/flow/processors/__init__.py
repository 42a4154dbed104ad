"""Processors that steer the flow and look into no span, and the stages that need to know the flow."""
