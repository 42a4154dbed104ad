"""Extensions: what receivers and exporters share (authentication, storage)."""
