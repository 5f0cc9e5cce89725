// Runs h2spec against a server on loopback and prints each failure; ends with 1 when there is one.
//
//	h2spec PORT [tls [CERTIFICATE KEY]]
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/summerwind/h2spec"
	"github.com/summerwind/h2spec/config"
)

func main() {
	port, err := strconv.Atoi(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	asked := config.Config{
		Host:         "127.0.0.1",
		Port:         port,
		Path:         "/spec",
		Timeout:      5 * time.Second,
		MaxHeaderLen: 4000,
		Strict:       true,
		TLS:          len(os.Args) > 2,
		Insecure:     true,
	}
	if len(os.Args) > 4 {
		asked.CertFile, asked.CertKeyFile = os.Args[3], os.Args[4]
	}
	isSound, err := h2spec.Run(&asked)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if !isSound {
		os.Exit(1)
	}
}
