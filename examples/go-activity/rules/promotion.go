package rules

// promotion returns what is taken off: nothing, yet.
func promotion(order Order, total int) (cents int, rule string) {
	return 0, "none"
}
