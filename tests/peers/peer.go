// Go's mime/multipart as a peer.
//
//	peer serve       serves on a port of its own, which it prints; answers a POST with the tree of
//	                 parts that mime/multipart reads in its body
//	peer post URL    posts what multipart.Writer writes of the order on standard input, and prints
//	                 the answer
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"strings"
)

// What was read. Raw is the filename as the header has it, Filename what FileName() makes of it.
type part struct {
	Name     string `json:"name"`
	Filename string `json:"filename"`
	Raw      string `json:"raw"`
	Type     string `json:"type"`
	Data     []byte `json:"data"`
	Parts    []part `json:"parts"`
}

// What is to be written: a body, or a part of one. A part with a Filename is made by
// CreateFormFile, one with a Name by WriteField, any other by CreatePart.
type order struct {
	Subtype  string            `json:"subtype"`
	Name     string            `json:"name"`
	Filename string            `json:"filename"`
	Headers  map[string]string `json:"headers"`
	Data     []byte            `json:"data"`
	Parts    []order           `json:"parts"`
}

func read(body io.Reader, contentType string) ([]part, error) {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, err
	}
	found := []part{}
	reader := multipart.NewReader(body, params["boundary"])
	for {
		it, err := reader.NextRawPart()
		if err == io.EOF {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		made := part{Name: it.FormName(), Filename: it.FileName()}
		made.Type = it.Header.Get("Content-Type")
		if _, said, err := mime.ParseMediaType(it.Header.Get("Content-Disposition")); err == nil {
			made.Raw = said["filename"]
		}
		if kind, _, err := mime.ParseMediaType(made.Type); err == nil && strings.HasPrefix(kind, "multipart/") {
			made.Parts, err = read(it, made.Type)
			if err != nil {
				return nil, err
			}
		} else if made.Data, err = io.ReadAll(it); err != nil {
			return nil, err
		}
		found = append(found, made)
	}
}

func handle(answer http.ResponseWriter, request *http.Request) {
	found, err := read(request.Body, request.Header.Get("Content-Type"))
	if err != nil {
		http.Error(answer, err.Error(), http.StatusBadRequest)
		return
	}
	json.NewEncoder(answer).Encode(found)
}

func write(writer *multipart.Writer, parts []order) error {
	for _, it := range parts {
		var to io.Writer
		var err error
		switch {
		case it.Parts != nil:
			err = writeNested(writer, it)
		case it.Filename != "":
			to, err = writer.CreateFormFile(it.Name, it.Filename)
		case it.Name != "":
			err = writer.WriteField(it.Name, string(it.Data))
		default:
			to, err = writer.CreatePart(header(it))
		}
		if err == nil && to != nil {
			_, err = to.Write(it.Data)
		}
		if err != nil {
			return err
		}
	}
	return writer.Close()
}

func writeNested(writer *multipart.Writer, it order) error {
	// The boundary stands in the headers, which are written before the writer of the level is made.
	boundary := multipart.NewWriter(io.Discard).Boundary()
	head := header(it)
	head.Set("Content-Type", contentType(it.Subtype, boundary))
	to, err := writer.CreatePart(head)
	if err != nil {
		return err
	}
	inner := multipart.NewWriter(to)
	if err := inner.SetBoundary(boundary); err != nil {
		return err
	}
	return write(inner, it.Parts)
}

func header(it order) textproto.MIMEHeader {
	head := textproto.MIMEHeader{}
	for name, value := range it.Headers {
		head.Set(name, value)
	}
	return head
}

func contentType(subtype string, boundary string) string {
	return mime.FormatMediaType("multipart/"+subtype, map[string]string{"boundary": boundary})
}

func post(url string) error {
	var it order
	if err := json.NewDecoder(os.Stdin).Decode(&it); err != nil {
		return err
	}
	out, in := io.Pipe()
	writer := multipart.NewWriter(in)
	go func() { in.CloseWithError(write(writer, it.Parts)) }()
	answer, err := http.Post(url, contentType(it.Subtype, writer.Boundary()), out)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(os.Stdout, answer.Body)
	return err
}

func main() {
	if os.Args[1] == "post" {
		if err := post(os.Args[2]); err != nil {
			log.Fatal(err)
		}
		return
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	log.Fatal(http.Serve(listener, http.HandlerFunc(handle)))
}
