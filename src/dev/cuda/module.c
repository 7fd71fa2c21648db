/* Entry point of the module. Its calls of core functions are forwarded to the program, which has the only copy of messages and counters. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../module.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"

extern const sd_backend sd_backend_cuda;

static const sd_module_host *host;

sd_status sd_fail(sd_status code, const char *file, int line, const char *format, ...)
{
    char text[SD_ERROR_TEXT];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return host->fail(code, file, line, "%s", text);
}

void sd_error(const char *format, ...)
{
    char text[SD_ERROR_TEXT];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    host->error("%s", text);
}

sd_status sd_alloc_bytes(void **out, uint64_t count, size_t size)
{
    return host->alloc(out, count, size);
}

void sd_free(void *memory)
{
    host->free(memory);
}

size_t sd_dtype_size(sd_dtype type)
{
    return host->dtype_size(type);
}

const char *sd_dtype_name(sd_dtype type)
{
    return host->dtype_name(type);
}

__attribute__((visibility("default"))) const sd_backend *sd_cuda_module(const sd_module_host *program);

const sd_backend *sd_cuda_module(const sd_module_host *program)
{
    if (program->layout != SD_MODULE_LAYOUT || strcmp(program->version, SAEDIFF_VERSION) != 0)
        return NULL;
    host = program;
    return &sd_backend_cuda;
}
