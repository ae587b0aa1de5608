"""From raw captioned pictures to pairs worth training on, shard by shard; corpus-wide steps use a database on disk."""
