// Command floor is the least that a webhook in a compiled language can do and still be one of ours: terminate TLS,
// decode the review, answer with the patch, and have the record on disk (fdatasync) before the answer leaves.
// It decides nothing: the patch is a template from a file. Standard library only. docs/benchmarks.md says how it is used.
package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// The record id in the template; the real webhook draws a new one for every answer, and so do we.
var placeholder = bytes.Repeat([]byte("0"), 32)

const bodyLimit = 10 << 20

type review struct {
	Request struct {
		UID       string          `json:"uid"`
		Namespace string          `json:"namespace"`
		DryRun    bool            `json:"dryRun"`
		UserInfo  json.RawMessage `json:"userInfo"`
		Object    struct {
			Metadata struct {
				Name            string          `json:"name"`
				GenerateName    string          `json:"generateName"`
				OwnerReferences json.RawMessage `json:"ownerReferences"`
			} `json:"metadata"`
			Spec struct {
				ServiceAccountName string `json:"serviceAccountName"`
			} `json:"spec"`
		} `json:"object"`
	} `json:"request"`
}

type answer struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Response   response `json:"response"`
}

type response struct {
	UID       string `json:"uid"`
	Allowed   bool   `json:"allowed"`
	PatchType string `json:"patchType"`
	Patch     []byte `json:"patch"`
}

// The keys of audit/record.py, in its order.
type record struct {
	V              int             `json:"v"`
	Kind           string          `json:"kind"`
	ID             string          `json:"id"`
	Time           string          `json:"time"`
	Replica        string          `json:"replica"`
	Decision       string          `json:"decision"`
	Reason         string          `json:"reason"`
	Source         string          `json:"source"`
	Caller         string          `json:"caller"`
	DryRun         bool            `json:"dryRun"`
	UID            string          `json:"uid"`
	Namespace      string          `json:"namespace"`
	Name           string          `json:"name"`
	GenerateName   string          `json:"generateName"`
	Owners         json.RawMessage `json:"owners"`
	ServiceAccount string          `json:"serviceAccount"`
	RequestedBy    json.RawMessage `json:"requestedBy"`
	Digest         string          `json:"digest"`
	Path           string          `json:"path"`
	Mode           string          `json:"mode"`
	Ports          string          `json:"ports"`
	Operations     json.RawMessage `json:"operations"`
	Warnings       []string        `json:"warnings"`
}

type floor struct {
	template []byte
	log      *os.File
}

func main() {
	certificate := flag.String("certificate", "", "PEM file, leaf first")
	key := flag.String("key", "", "PEM file")
	template := flag.String("patch", "", "the JSON patch to answer with; thirty-two zeros stand for the record id")
	records := flag.String("log", "", "file that records are appended to")
	flag.Parse()
	patch, err := os.ReadFile(*template)
	if err != nil {
		log.Fatal(err)
	}
	file, err := os.OpenFile(*records, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	// The harness reads the port from our first line.
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	server := &http.Server{Handler: &floor{patch, file}, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ServeTLS(listener, *certificate, *key))
}

func (f *floor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	var in review
	if err := json.Unmarshal(body, &in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	id := hex.EncodeToString(random)
	patch := bytes.ReplaceAll(f.template, placeholder, []byte(id))
	if err := f.append(line(&in, r, body, patch, id)); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	out := response{UID: in.Request.UID, Allowed: true, PatchType: "JSONPatch", Patch: patch}
	_ = json.NewEncoder(w).Encode(answer{"admission.k8s.io/v1", "AdmissionReview", out})
}

func line(in *review, r *http.Request, body, patch []byte, id string) *record {
	source, _, _ := net.SplitHostPort(r.RemoteAddr)
	digest := sha256.Sum256(body)
	object := &in.Request.Object
	return &record{
		V: 1, Kind: "admission", ID: id, Time: time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"),
		Replica: "floor", Decision: "inject", Source: source, Caller: "unverified", DryRun: in.Request.DryRun,
		UID: in.Request.UID, Namespace: in.Request.Namespace, Name: object.Metadata.Name,
		GenerateName: object.Metadata.GenerateName, Owners: object.Metadata.OwnerReferences,
		ServiceAccount: object.Spec.ServiceAccountName, RequestedBy: in.Request.UserInfo,
		Digest: "sha256:" + hex.EncodeToString(digest[:]), Path: "mtls/port", Mode: "mtls", Operations: patch,
		Warnings: []string{},
	}
}

// append returns when the record is on disk.
func (f *floor) append(r *record) error {
	encoded, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err := f.log.Write(append(encoded, '\n')); err != nil {
		return err
	}
	return syscall.Fdatasync(int(f.log.Fd()))
}
