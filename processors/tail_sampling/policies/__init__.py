"""The policies of `tail_sampling`: what each is configured by, how one is built, and the policies themselves."""
