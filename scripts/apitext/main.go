// Command apitext prints what a package exports, one declaration after the other, sorted and
// without comments: the text of docs/api, in which a change of the API shows. Run scripts/api.
package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/build"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: apitext FOLDER")
		os.Exit(2)
	}
	text, err := describe(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "apitext:", err)
		os.Exit(1)
	}
	fmt.Print(text)
}

// describe returns the text of the package in a folder.
func describe(dir string) (string, error) {
	pkg, err := build.ImportDir(dir, 0)
	if err != nil {
		return "", err
	}
	fset := token.NewFileSet()
	var all []string
	for _, name := range pkg.GoFiles {
		file, err := parser.ParseFile(fset, filepath.Join(dir, name), nil, parser.SkipObjectResolution) // without comments
		if err != nil {
			return "", err
		}
		ast.FileExports(file)
		for _, decl := range file.Decls {
			text, err := declaration(fset, decl)
			if err != nil {
				return "", err
			}
			if text != "" {
				all = append(all, text)
			}
		}
	}
	slices.Sort(all)
	return "package " + pkg.Name + "\n\n" + strings.Join(all, "\n"), nil
}

// declaration returns the text of one declaration, without the bodies of functions and the
// values of variables.
func declaration(fset *token.FileSet, decl ast.Decl) (string, error) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Recv != nil && !ast.IsExported(receiver(d.Recv.List[0].Type)) {
			return "", nil
		}
		d.Body = nil
	case *ast.GenDecl:
		if d.Tok == token.IMPORT {
			return "", nil
		}
		for _, spec := range d.Specs {
			if v, ok := spec.(*ast.ValueSpec); ok && d.Tok == token.VAR {
				v.Values = nil
			}
		}
	}
	var b bytes.Buffer
	if err := format.Node(&b, fset, decl); err != nil {
		return "", err
	}
	// Positions that are gone leave empty lines.
	lines := slices.DeleteFunc(strings.Split(b.String(), "\n"), func(s string) bool { return strings.TrimSpace(s) == "" })
	return strings.Join(lines, "\n") + "\n", nil
}

// receiver returns the name of the type of a receiver.
func receiver(t ast.Expr) string {
	switch t := t.(type) {
	case *ast.StarExpr:
		return receiver(t.X)
	case *ast.IndexExpr:
		return receiver(t.X)
	case *ast.IndexListExpr:
		return receiver(t.X)
	case *ast.Ident:
		return t.Name
	}
	return ""
}
