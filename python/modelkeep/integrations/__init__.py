"""modelkeep inside other programs."""
