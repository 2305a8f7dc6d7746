"""`kill -9` of the gateway while it tells people and programs, and what reached them."""
