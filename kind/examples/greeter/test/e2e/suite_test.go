// Package e2e tests the greeter in the environment that `xtask e2e greeter` makes; the variables are the table's.
package e2e

import (
	"os"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

func TestGreeter(t *testing.T) {
	if os.Getenv("GREETER_URL") == "" {
		t.Skip("GREETER_URL is not set: run `xtask e2e greeter --services services.toml`")
	}
	RegisterFailHandler(Fail)
	RunSpecs(t, "Greeter")
}
