"""Where a version's code runs: each lane implements `midflight._lane.Lane`."""
