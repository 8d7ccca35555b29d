// Package export_wasi_http_incoming_handler answers `/.../LANGUAGE/NAME` with a greeting of the component that it is linked
// to, and any POST with its body.
package export_wasi_http_incoming_handler

import (
	"runtime"
	"runtime/debug"
	"strings"

	witTypes "go.bytecodealliance.org/pkg/wit/types"
	"wit_component/example_greetings_greetings"
	"wit_component/wasi_http_types"
	"wit_component/wasi_io_streams"
)

// What a stream takes at once.
const chunk = 4096

// After so many pieces of a body the collector runs.
const collected = 1000

// Go's collector asks for the time, which a component may not while the host hands it something: it runs when it is told.
func init() {
	debug.SetGCPercent(-1)
}

// Handle answers a request.
func Handle(request *wasi_http_types.IncomingRequest, out *wasi_http_types.ResponseOutparam) {
	defer request.Drop()
	post := request.Method().Tag() == wasi_http_types.Method_Post
	status, text := uint16(200), ""
	if !post {
		status, text = greeting(request.PathWithQuery().SomeOr(""))
	}
	response := wasi_http_types.MakeOutgoingResponse(wasi_http_types.MakeFields())
	response.SetStatusCode(status)
	body := response.Body().Ok()
	wasi_http_types.ResponseOutparamSet(out, witTypes.Ok[*wasi_http_types.OutgoingResponse, wasi_http_types.ErrorCode](response))
	stream := body.Write().Ok()
	if post {
		echo(request, stream)
	} else {
		send(stream, []byte(text))
	}
	stream.Drop()
	wasi_http_types.OutgoingBodyFinish(body, witTypes.None[*wasi_http_types.Fields]())
}

// The status and text of a path.
func greeting(path string) (uint16, string) {
	segments := strings.Split(strings.Trim(path, "/"), "/")
	language, name := "", "stranger"
	if count := len(segments); count >= 2 {
		language, name = segments[count-2], segments[count-1]
	}
	answer := example_greetings_greetings.Greet(name, language)
	if answer.IsOk() {
		return 200, answer.Ok()
	}
	if err := answer.Err(); err.Tag() == example_greetings_greetings.Error_UnknownLanguage {
		return 404, err.UnknownLanguage()
	} else {
		return 503, err.Unavailable()
	}
}

// Copies the body of a request. It is read to its end, which is no error.
func echo(request *wasi_http_types.IncomingRequest, to *wasi_io_streams.OutputStream) {
	body := request.Consume().Ok()
	defer body.Drop()
	from := body.Stream().Ok()
	defer from.Drop()
	for pieces := 1; ; pieces++ {
		if pieces%collected == 0 {
			runtime.GC()
		}
		read := from.BlockingRead(chunk)
		if read.IsErr() || !send(to, read.Ok()) {
			return
		}
	}
}

// Sends bytes; false once the client has gone.
func send(to *wasi_io_streams.OutputStream, bytes []byte) bool {
	for len(bytes) > 0 {
		piece := bytes[:min(chunk, len(bytes))]
		if to.BlockingWriteAndFlush(piece).IsErr() {
			return false
		}
		bytes = bytes[len(piece):]
	}
	return true
}
