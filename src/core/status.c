#include "saediff/core/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char last_text[SD_ERROR_TEXT];
static _Thread_local char last_location[128];

static void remember_location(const char *file, int line)
{
    const char *name = strrchr(file, '/');

    snprintf(last_location, sizeof last_location, "%s:%d", name ? name + 1 : file, line);
}

sd_status sd_fail(sd_status code, const char *file, int line, const char *format, ...)
{
    char text[SD_ERROR_TEXT]; /* an argument may be the last error's own text */
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    memcpy(last_text, text, sizeof last_text);
    remember_location(file, line);
    return code;
}

sd_status sd_fail_from(sd_status code, int rank, const char *text)
{
    if (text != last_text)
        snprintf(last_text, sizeof last_text, "%s", text);
    snprintf(last_location, sizeof last_location, "rank %d", rank);
    return code;
}

sd_status sd_fail_in(sd_status code, const char *context)
{
    char text[SD_ERROR_TEXT];
    int kept = SD_ERROR_TEXT / 2;

    if (code == SD_OK)
        return code;
    snprintf(text, sizeof text, "%.*s: %.*s", kept - 3, context, kept, last_text);
    memcpy(last_text, text, sizeof last_text);
    return code;
}

const char *sd_last_error(void)
{
    return last_text;
}

const char *sd_last_error_location(void)
{
    return last_location;
}

int sd_exit_code(sd_status code)
{
    switch (code) {
    case SD_OK:
        return 0;
    case SD_E_STOPPED:
        return 75;
    case SD_E_USAGE:
        return 2;
    case SD_E_DATA:
        return 3;
    case SD_E_ENV:
        return 4;
    case SD_E_INTERNAL:
        break;
    }
    return 5;
}
