// Package events reports the tests of a Go program on descriptor 3.
//
// The program's package depends on it through its tests, so it is initialised first and has read the nonce before
// anything of the program runs.
package events

import (
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	channel = os.NewFile(3, "events")
	nonce   = readNonce()
	exit    = os.Exit
	stdout  = os.Stdout
)

func readNonce() string {
	buffer := make([]byte, 33)
	if _, err := io.ReadFull(channel, buffer); err != nil {
		os.Exit(125)
	}
	return string(buffer[:32])
}

func quoted(text string) string {
	if len(text) > 1500 {
		text = text[:1500]
	}
	var out strings.Builder
	out.WriteByte('"')
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			out.WriteByte('\\')
			out.WriteRune(c)
		case c >= ' ' && c <= '~':
			out.WriteRune(c)
		case c > 0xffff:
			c -= 0x10000
			fmt.Fprintf(&out, "\\u%04x\\u%04x", 0xd800+(c>>10), 0xdc00+(c&0x3ff))
		default:
			fmt.Fprintf(&out, "\\u%04x", c)
		}
	}
	out.WriteByte('"')
	return out.String()
}

func send(event, fields string) {
	line := fmt.Sprintf("{\"nonce\":\"%s\",\"event\":\"%s\"%s}\n", nonce, event, fields)
	if _, err := channel.WriteString(line); err != nil {
		exit(125)
	}
}

var (
	located = regexp.MustCompile(`solution_test\.go:(\d+)`)
	noise   = regexp.MustCompile(`(?m)^\s*(?:=== .*|--- .*|PASS$|FAIL$|solution_test\.go:\d+:\s?)`)
)

type result struct {
	name              string
	failed, skipped   bool
	finished, isKnown bool
	panicked          interface{}
	stack             string
}

var (
	previous result
	said     *os.File // what the test and the program print; copied to the real standard output
	offset   int64
	status   int
)

func heard() string {
	if said == nil {
		return ""
	}
	size, err := said.Seek(0, io.SeekEnd)
	if err != nil || size <= offset {
		return ""
	}
	text := make([]byte, size-offset)
	n, _ := said.ReadAt(text, offset)
	offset = size
	stdout.Write(text[:n])
	return string(text[:n])
}

// flush reports the test that ran last. Its own report is only printed once its function has ended.
func flush() {
	seen, text := previous, heard()
	previous = result{}
	if !seen.isKnown {
		return
	}
	id := ",\"id\":" + quoted(seen.name)
	failed := func(kind, message string) {
		status = 1
		send("test", id+",\"outcome\":\"failed\",\"type\":"+quoted(kind)+",\"message\":"+quoted(message))
	}
	switch {
	case seen.panicked != nil:
		failed("panic", fmt.Sprint(seen.panicked)+where(seen.stack))
	case seen.failed:
		message := strings.TrimSpace(noise.ReplaceAllString(text, ""))
		if message == "" {
			message = "the test was marked as failed"
		}
		failed("AssertionError", message+where(text))
	case seen.skipped:
		send("test", id+",\"outcome\":\"skipped\",\"type\":\"Skipped\",\"message\":\"it skipped itself\",\"by\":\"tests\"")
	case !seen.finished:
		failed("TestsIncomplete", "the test did not finish")
	default:
		send("test", id+",\"outcome\":\"passed\"")
	}
}

var busy = regexp.MustCompile(`^goroutine \d+ \[(?:running|runnable|sleep)[\],]`)

// straying tells whether a goroutine that the tests started still runs, and does not just wait for others.
func straying() bool {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for _, stack := range strings.Split(string(stacks), "\n\n")[1:] { // the first is ours
		if busy.MatchString(stack) && located.MatchString(stack) && !strings.Contains(stack, "testing.tRunner") {
			return true
		}
	}
	return false
}

// Checks tells whether goroutines of the tests check something, so that a test has to wait for them.
var Checks bool

func settle(t *testing.T) {
	for end := time.Now().Add(time.Second); Checks && straying(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("a goroutine that checks something still ran when its test ended; wait for it")
			return
		}
	}
}

// Watch runs one test and remembers how it ended.
func Watch(t *testing.T, name string, test func(t *testing.T)) {
	flush()
	previous = result{name: name, isKnown: true}
	t.Cleanup(func() { previous.failed, previous.skipped = t.Failed(), t.Skipped() })
	defer func() {
		if previous.finished {
			return
		}
		if value := recover(); value != nil {
			previous.panicked, previous.stack = value, string(debug.Stack())
			t.Fail()
		} else if !t.Failed() && !t.Skipped() {
			previous.panicked = "the test's goroutine was ended before the test was"
			t.Fail()
		}
	}()
	test(t)
	settle(t)
	previous.finished = true
}

func where(text string) string {
	if found := located.FindStringSubmatch(text); found != nil {
		if _, err := strconv.Atoi(found[1]); err == nil {
			return " (line " + found[1] + ")"
		}
	}
	return ""
}

// Run runs every test in turn and ends the process.
func Run(m *testing.M) {
	flag.Parse()
	if file, err := os.CreateTemp("", "said"); err == nil {
		os.Remove(file.Name())
		said, os.Stdout = file, file
	}
	code := m.Run()
	flush()
	send("end", "")
	if status == 0 {
		status = code
	}
	exit(status)
}
