// Command registry is a Confluent schema registry that is none of ours, on loopback, for as long as its
// standard input stays open: whoever started it holds the other end, so it ends with them, however they end.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/twmb/franz-go/pkg/sr/srfake"
)

func main() {
	registry := srfake.New()
	defer registry.Close()
	// The first and only line: where it listens.
	if _, err := fmt.Println(registry.URL()); err != nil {
		os.Exit(1)
	}
	// An error here is an end as well.
	_, _ = io.Copy(io.Discard, os.Stdin)
}
