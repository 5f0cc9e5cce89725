// Reads streams of HTTP/1.1 requests as Go's server does: one base64 line in, one line of JSON out.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"os"
)

func read(stream []byte) [][]any {
	requests := [][]any{}
	reader := bufio.NewReader(bytes.NewReader(stream))
	for {
		request, err := http.ReadRequest(reader)
		if err == io.EOF {
			return requests
		}
		if err != nil {
			return append(requests, []any{"refused", err.Error(), 0})
		}
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return append(requests, []any{"refused", err.Error(), 0})
		}
		requests = append(requests, []any{request.Method, request.RequestURI, len(body)})
	}
}

func main() {
	lines := bufio.NewReader(os.Stdin)
	output := json.NewEncoder(os.Stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		stream, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(line)))
		if err != nil {
			panic(err)
		}
		if err := output.Encode(read(stream)); err != nil {
			panic(err)
		}
	}
}
