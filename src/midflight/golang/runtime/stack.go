//go:build go1.22

package midflightruntime

import "strings"

// ownStack leaves out of a stack trace what lies above the panic and what served the call.
func ownStack(stack []byte) string {
	lines := strings.Split(strings.TrimSpace(string(stack)), "\n")
	var kept []string
	below := false
	for i := 1; i+1 < len(lines); i += 2 {
		name := lines[i]
		if strings.HasPrefix(name, "panic(") {
			below, kept = true, nil
			continue
		}
		if !below {
			continue
		}
		if strings.HasPrefix(name, "reflect.Value.call(") || strings.Contains(name, runtimeName+".") {
			break
		}
		kept = append(kept, name, lines[i+1])
	}
	if len(kept) == 0 {
		kept = lines
	}
	return strings.Join(kept, "\n")
}

const runtimeName = "midflightruntime"
