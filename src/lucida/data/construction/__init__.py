"""From raw captioned pictures to pairs worth training on, shard by shard; memory does not grow with the corpus."""
