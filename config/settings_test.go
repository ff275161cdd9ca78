package config

import (
	"reflect"
	"slices"
	"testing"
)

// keys lists the keys that a struct is decoded from.
func keys(prefix string, v any) (list []string) {
	t := reflect.TypeOf(v)
	for i := range t.NumField() {
		if key := t.Field(i).Tag.Get("conf"); key != "" {
			list = append(list, prefix+key)
		}
	}
	return list
}

// TestSettings: every key that is read is described, and nothing else.
func TestSettings(t *testing.T) {
	want := slices.Concat(keys("", document{}), keys("instances[].", instance{}), keys("instances[].match.", match{}))
	var got []string
	for _, s := range Settings() {
		if s.Doc == "" || slices.Contains(got, s.Path) {
			t.Errorf("%s: twice, or without a word", s.Path)
		}
		got = append(got, s.Path)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("described\n%q, read\n%q", got, want)
	}
}
