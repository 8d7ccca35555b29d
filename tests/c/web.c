// Answers `/.../LANGUAGE/NAME` with a greeting of the component that it is linked to, and any POST with its body.

#include "web.h"

#include <stdio.h>
#include <string.h>

#define CHUNK 4096

// Sends one piece; no more are sent once the client has gone.
static bool piece(wasi_http_types_own_output_stream_t stream, uint8_t *bytes, size_t length) {
    web_list_u8_t contents = {bytes, length};
    wasi_io_streams_stream_error_t error;
    return wasi_io_streams_method_output_stream_blocking_write_and_flush(wasi_io_streams_borrow_output_stream(stream),
                                                                         &contents, &error);
}

// Copies the body of a request. It is read to its end, which is no error.
static void echo(wasi_http_types_own_incoming_request_t request, wasi_http_types_own_output_stream_t to) {
    wasi_http_types_own_incoming_body_t body;
    wasi_http_types_own_input_stream_t from;
    if (!wasi_http_types_method_incoming_request_consume(wasi_http_types_borrow_incoming_request(request), &body)) {
        return;
    }
    if (wasi_http_types_method_incoming_body_stream(wasi_http_types_borrow_incoming_body(body), &from)) {
        web_list_u8_t read;
        wasi_io_streams_stream_error_t error;
        while (wasi_io_streams_method_input_stream_blocking_read(wasi_io_streams_borrow_input_stream(from), CHUNK, &read,
                                                                 &error)) {
            bool sent = piece(to, read.ptr, read.len);
            web_list_u8_free(&read);
            if (!sent) {
                break;
            }
        }
        wasi_io_streams_input_stream_drop_own(from);
    }
    wasi_http_types_incoming_body_drop_own(body);
}

// The status, and the text in `text`.
static uint16_t greeting(const web_string_t *path, char *text, size_t room) {
    char copy[256] = "";
    snprintf(copy, sizeof copy, "%.*s", (int)path->len, (const char *)path->ptr);
    char *language = NULL, *name = NULL;
    for (char *segment = strtok(copy, "/"); segment; segment = strtok(NULL, "/")) {
        language = name;
        name = segment;
    }
    web_string_t who, tongue, answer;
    web_string_set(&who, name ? name : "stranger");
    web_string_set(&tongue, language ? language : "");
    example_greetings_greetings_error_t error;
    if (example_greetings_greetings_greet(&who, &tongue, &answer, &error)) {
        snprintf(text, room, "%.*s", (int)answer.len, (const char *)answer.ptr);
        web_string_free(&answer);
        return 200;
    }
    bool unknown = error.tag == EXAMPLE_GREETINGS_GREETINGS_ERROR_UNKNOWN_LANGUAGE;
    web_string_t *why = unknown ? &error.val.unknown_language : &error.val.unavailable;
    snprintf(text, room, "%.*s", (int)why->len, (const char *)why->ptr);
    example_greetings_greetings_error_free(&error);
    return unknown ? 404 : 503;
}

void exports_wasi_http_incoming_handler_handle(exports_wasi_http_incoming_handler_own_incoming_request_t request,
                                               exports_wasi_http_incoming_handler_own_response_outparam_t out) {
    wasi_http_types_method_t method;
    wasi_http_types_method_incoming_request_method(wasi_http_types_borrow_incoming_request(request), &method);
    bool post = method.tag == WASI_HTTP_TYPES_METHOD_POST;
    wasi_http_types_method_free(&method);

    char text[512] = "";
    uint16_t status = 200;
    web_string_t path;
    if (!post && wasi_http_types_method_incoming_request_path_with_query(wasi_http_types_borrow_incoming_request(request),
                                                                         &path)) {
        status = greeting(&path, text, sizeof text);
        web_string_free(&path);
    }

    wasi_http_types_own_outgoing_response_t response =
        wasi_http_types_constructor_outgoing_response(wasi_http_types_constructor_fields());
    wasi_http_types_method_outgoing_response_set_status_code(wasi_http_types_borrow_outgoing_response(response), status);
    wasi_http_types_own_outgoing_body_t body;
    wasi_http_types_method_outgoing_response_body(wasi_http_types_borrow_outgoing_response(response), &body);
    wasi_http_types_result_own_outgoing_response_error_code_t answer = {.is_err = false, .val.ok = response};
    wasi_http_types_static_response_outparam_set(out, &answer);

    wasi_http_types_own_output_stream_t stream;
    wasi_http_types_method_outgoing_body_write(wasi_http_types_borrow_outgoing_body(body), &stream);
    if (post) {
        echo(request, stream);
    } else {
        piece(stream, (uint8_t *)text, strlen(text));
    }
    wasi_io_streams_output_stream_drop_own(stream);
    wasi_http_types_error_code_t error;
    wasi_http_types_static_outgoing_body_finish(body, NULL, &error);
    wasi_http_types_incoming_request_drop_own(request);
}
