// Package PACKAGE holds the assertions that small Go tests use most, under the names that testify gave them.
package PACKAGE

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
)

// TestingT is what a test has to offer.
type TestingT interface {
	Errorf(format string, args ...interface{})
}

type helper interface{ Helper() }
type stopper interface{ FailNow() }

// Assertions holds the test, so that it need not be given each time.
type Assertions struct{ t TestingT }

// New returns the assertions of a test.
func New(t TestingT) *Assertions { return &Assertions{t} }

func report(t TestingT, ok bool, what string, message []interface{}) bool {
	if ok {
		return true
	}
	if h, is := t.(helper); is {
		h.Helper()
	}
	if len(message) == 1 {
		what += ": " + fmt.Sprint(message[0])
	} else if len(message) > 1 {
		what += ": " + fmt.Sprintf(fmt.Sprint(message[0]), message[1:]...)
	}
	t.Errorf("%s", what)
	if s, is := t.(stopper); is && STOPS {
		s.FailNow()
	}
	return false
}

// ObjectsAreEqual tells whether two values are equal, bytes by content.
func ObjectsAreEqual(expected, actual interface{}) bool {
	a, isBytes := expected.([]byte)
	b, areBytes := actual.([]byte)
	if isBytes && areBytes && a != nil && b != nil {
		return bytes.Equal(a, b)
	}
	return reflect.DeepEqual(expected, actual)
}

func isNil(value interface{}) bool {
	if value == nil {
		return true
	}
	v := reflect.ValueOf(value)
	switch v.Kind() {
	case reflect.Chan, reflect.Func, reflect.Interface, reflect.Map, reflect.Ptr, reflect.Slice:
		return v.IsNil()
	}
	return false
}

func isEmpty(value interface{}) bool {
	if value == nil {
		return true
	}
	v := reflect.ValueOf(value)
	switch v.Kind() {
	case reflect.Chan, reflect.Map, reflect.Slice, reflect.String, reflect.Array:
		return v.Len() == 0
	}
	return v.IsZero()
}

func contains(list, item interface{}) bool {
	v := reflect.ValueOf(list)
	switch v.Kind() {
	case reflect.String:
		return strings.Contains(v.String(), fmt.Sprint(item))
	case reflect.Map:
		for _, key := range v.MapKeys() {
			if ObjectsAreEqual(key.Interface(), item) {
				return true
			}
		}
	case reflect.Slice, reflect.Array:
		for i := 0; i < v.Len(); i++ {
			if ObjectsAreEqual(v.Index(i).Interface(), item) {
				return true
			}
		}
	}
	return false
}

func number(value interface{}) float64 {
	v := reflect.ValueOf(value)
	switch {
	case !v.IsValid():
		return math.NaN()
	case v.Kind() >= reflect.Int && v.Kind() <= reflect.Int64:
		return float64(v.Int())
	case v.Kind() >= reflect.Uint && v.Kind() <= reflect.Uint64:
		return float64(v.Uint())
	case v.Kind() == reflect.Float32 || v.Kind() == reflect.Float64:
		return v.Float()
	}
	return math.NaN()
}

func length(value interface{}) int {
	v := reflect.ValueOf(value)
	switch v.Kind() {
	case reflect.Chan, reflect.Map, reflect.Slice, reflect.String, reflect.Array:
		return v.Len()
	}
	return -1
}

func sameElements(a, b interface{}) bool {
	if length(a) != length(b) || length(a) < 0 {
		return false
	}
	left, right := reflect.ValueOf(a), reflect.ValueOf(b)
	used := make([]bool, right.Len())
	for i := 0; i < left.Len(); i++ {
		found := false
		for j := 0; j < right.Len() && !found; j++ {
			if !used[j] && ObjectsAreEqual(left.Index(i).Interface(), right.Index(j).Interface()) {
				used[j], found = true, true
			}
		}
		if !found {
			return false
		}
	}
	return true
}

func panics(run func()) (did bool) {
	did = true
	defer func() { recover() }()
	run()
	did = false
	return
}

func near(a, b interface{}, delta float64) bool { return math.Abs(number(a)-number(b)) <= delta }

func show(expected, actual interface{}) string {
	return fmt.Sprintf("not equal: expected %#v, actual %#v", expected, actual)
}
