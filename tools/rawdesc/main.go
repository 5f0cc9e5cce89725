// Collects the protobuf file descriptors that generated Go code carries as constants.
//
// Usage: rawdesc OUT DIR...   writes one FileDescriptorSet with every `*_rawDesc` below the DIRs.
//
// Go modules are the one registry that has Envoy's, Istio's and OpenTelemetry's types at exact
// versions, but only as generated code. The code is parsed, never compiled.
package main

import (
	"encoding/binary"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: rawdesc OUT DIR...")
		os.Exit(2)
	}
	var set []byte
	files := 0
	for _, root := range os.Args[2:] {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".pb.go") {
				return err
			}
			for _, descriptor := range descriptors(path) {
				set = append(set, 0x0a) // FileDescriptorSet.file, length-delimited
				set = binary.AppendUvarint(set, uint64(len(descriptor)))
				set = append(set, descriptor...)
				files++
			}
			return nil
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if err := os.WriteFile(os.Args[1], set, 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("%d descriptors\n", files)
}

func descriptors(path string) []string {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil
	}
	var found []string
	for _, declaration := range file.Decls {
		general, ok := declaration.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range general.Specs {
			value, ok := spec.(*ast.ValueSpec)
			if !ok || len(value.Names) != 1 || len(value.Values) != 1 || !strings.HasSuffix(value.Names[0].Name, "_rawDesc") {
				continue
			}
			if text, ok := bytesOf(value.Values[0]); ok {
				found = append(found, text)
			}
		}
	}
	return found
}

// bytesOf evaluates "a" + "b" and []byte{0x0a, …}, the two forms protoc-gen-go has used.
func bytesOf(expression ast.Expr) (string, bool) {
	switch node := expression.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(node.Value)
		return text, err == nil
	case *ast.ParenExpr:
		return bytesOf(node.X)
	case *ast.BinaryExpr:
		left, okLeft := bytesOf(node.X)
		right, okRight := bytesOf(node.Y)
		return left + right, okLeft && okRight
	case *ast.CompositeLit:
		data := make([]byte, 0, len(node.Elts))
		for _, element := range node.Elts {
			literal, ok := element.(*ast.BasicLit)
			if !ok {
				return "", false
			}
			value, err := strconv.ParseUint(literal.Value, 0, 8)
			if err != nil {
				return "", false
			}
			data = append(data, byte(value))
		}
		return string(data), true
	}
	return "", false
}
