"""Where a network's activity would lie in a brain, what EEG and MEG would see of it, and whether recordings agree."""
