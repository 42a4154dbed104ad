"""The one way of a batch, in its order: head stage, assembly, delivery, settlement."""
