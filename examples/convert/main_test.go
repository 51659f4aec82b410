//go:build linux && amd64

package main

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// service starts the service, or skips the test where ImageMagick is not
// installed.
func service(t *testing.T) string {
	t.Helper()
	c, err := newConverter()
	if err != nil {
		if os.Getenv("OUBLIETTE_STRICT") == "1" {
			t.Fatal("skipped in strict mode: ", err)
		}
		t.Skip(err)
	}
	s := httptest.NewServer(c)
	t.Cleanup(func() {
		s.Close()
		if err := c.warm.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.URL
}

func post(t *testing.T, url string, upload []byte) (status int, body []byte) {
	t.Helper()
	r, err := http.Post(url, "application/octet-stream", bytes.NewReader(upload))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err = io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, body
}

// picture is a small image without two equal rows.
func picture() image.Image {
	m := image.NewRGBA(image.Rect(0, 0, 40, 30))
	for y := range 30 {
		for x := range 40 {
			m.Set(x, y, color.RGBA{uint8(6 * x), uint8(8 * y), uint8(x * y), 255})
		}
	}
	return m
}

// TestConvert: pictures come back as PNG, the lossless one pixel by pixel.
func TestConvert(t *testing.T) {
	url := service(t)
	want := picture()
	for name, encode := range map[string]func(io.Writer) error{
		"png":  func(w io.Writer) error { return png.Encode(w, want) },
		"jpeg": func(w io.Writer) error { return jpeg.Encode(w, want, nil) },
	} {
		var upload bytes.Buffer
		if err := encode(&upload); err != nil {
			t.Fatal(err)
		}
		status, body := post(t, url, upload.Bytes())
		got, err := png.Decode(bytes.NewReader(body))
		if status != http.StatusOK || err != nil || got.Bounds() != want.Bounds() {
			t.Errorf("%s: status %d, %v, %d bytes: %.200q", name, status, err, len(body), body)
			continue
		}
		for y := 0; y < 30 && name == "png"; y++ {
			for x := range 40 {
				if r, g, b, _ := got.At(x, y).RGBA(); !same(want.At(x, y), r, g, b) {
					t.Fatalf("%s: pixel %d,%d is %v", name, x, y, got.At(x, y))
				}
			}
		}
	}
}

func same(c color.Color, r, g, b uint32) bool {
	R, G, B, _ := c.RGBA()
	return r == R && g == G && b == B
}

// TestMalicious: uploads that make ImageMagick read files get nothing of the
// host's.
func TestMalicious(t *testing.T) {
	url := service(t)
	const secret = "do not tell 4711"
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "secret")
	if err := os.WriteFile(file, []byte(secret), 0o644); err != nil {
		t.Fatal(err)
	}
	picturePath := filepath.Join(dir, "private.png")
	var b bytes.Buffer
	if err := png.Encode(&b, picture()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(picturePath, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, upload := range []string{
		"push graphic-context\nviewbox 0 0 40 30\nimage over 0,0 0,0 '%s'\npop graphic-context\n",
		"push graphic-context\nviewbox 0 0 640 480\nimage over 0,0 0,0 'label:@%s'\npop graphic-context\n",
		"push graphic-context\nviewbox 0 0 640 480\nfill 'url(https://127.0.0.1/x.jpg\"|cat %s\")'\npop graphic-context\n",
		`<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="40" height="30"><image xlink:href="%s" width="40" height="30"/></svg>`,
		`<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file://%s">]><svg xmlns="http://www.w3.org/2000/svg" width="400" height="30"><text y="20">&x;</text></svg>`,
		`<image><read filename="%s"/><write filename="png:-"/></image>`,
		"%%!PS\n(%s) (r) file 100 string readstring pop show showpage\n",
	} {
		for _, path := range []string{"/etc/passwd", "/etc/shadow", file, picturePath} {
			text := fmt.Sprintf(upload, path)
			status, body := post(t, url, []byte(text))
			if status == http.StatusInternalServerError {
				t.Errorf("%.60q: status %d, %s", text, status, body)
			}
			if s := string(body); strings.Contains(s, secret) || strings.Contains(s, "root:") {
				t.Errorf("%.60q gives %q", text, s)
			}
			if m, err := png.Decode(bytes.NewReader(body)); err == nil && same(picture().At(39, 29), rgb(m.At(39, 29))[0], rgb(m.At(39, 29))[1], rgb(m.At(39, 29))[2]) {
				t.Errorf("%.60q shows the private picture", text)
			}
		}
	}
}

func rgb(c color.Color) [3]uint32 {
	r, g, b, _ := c.RGBA()
	return [3]uint32{r, g, b}
}

// TestRefused: what is no picture is the client's mistake.
func TestRefused(t *testing.T) {
	url := service(t)
	for _, upload := range []string{"", "no picture at all", "\x89PNG\r\n\x1a\nnot really"} {
		if status, body := post(t, url, []byte(upload)); status != http.StatusUnprocessableEntity {
			t.Errorf("%q: status %d, %s", upload, status, body)
		}
	}
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %v", r.Status)
	}
}
