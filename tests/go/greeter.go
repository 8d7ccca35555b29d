// Package export_example_greetings_greetings answers the contract of `examples/linked`.
package export_example_greetings_greetings

import (
	"runtime"
	"runtime/debug"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
	"wit_component/example_greetings_greetings"
)

// After so many calls the collector runs.
const collected = 1000

var calls = 0

// Go's collector asks for the time, which a component may not while the host hands it something: it runs when it is told.
func init() {
	debug.SetGCPercent(-1)
}

// Greet greets somebody in English or Spanish.
func Greet(name string, language string) witTypes.Result[string, example_greetings_greetings.Error] {
	if calls++; calls%collected == 0 {
		runtime.GC()
	}
	greetings := map[string]string{"en": "Hello", "es": "¡Hola"}
	greeting, known := greetings[language]
	if !known {
		error := example_greetings_greetings.MakeErrorUnknownLanguage(language)
		return witTypes.Err[string, example_greetings_greetings.Error](error)
	}
	return witTypes.Ok[string, example_greetings_greetings.Error](greeting + ", " + name + "!")
}
