package backendtest

// CheckNames returns the names of all checks, in order.
func CheckNames() []string {
	var names []string
	for _, c := range checks() {
		names = append(names, c.name)
	}
	return names
}
