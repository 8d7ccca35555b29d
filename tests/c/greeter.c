// Answers the contract of `examples/linked`.

#include "greeter.h"

#include <stdio.h>
#include <string.h>

static bool is(const greeter_string_t *text, const char *other) {
    return text->len == strlen(other) && memcmp(text->ptr, other, text->len) == 0;
}

bool exports_example_greetings_greetings_greet(greeter_string_t *name, greeter_string_t *language, greeter_string_t *ret,
                                               exports_example_greetings_greetings_error_t *err) {
    bool english = is(language, "en"), known = english || is(language, "es");
    if (!known) {
        err->tag = EXPORTS_EXAMPLE_GREETINGS_GREETINGS_ERROR_UNKNOWN_LANGUAGE;
        greeter_string_dup_n(&err->val.unknown_language, (const char *)language->ptr, language->len);
    } else {
        char text[512];
        int length = snprintf(text, sizeof text, "%s, %.*s!", english ? "Hello" : "¡Hola", (int)name->len,
                              (const char *)name->ptr);
        greeter_string_dup_n(ret, text, length < (int)sizeof text ? (size_t)length : sizeof text - 1);
    }
    greeter_string_free(name);
    greeter_string_free(language);
    return known;
}
