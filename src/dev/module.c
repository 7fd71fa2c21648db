#include "module.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "saediff/core/log.h"
#include "saediff/core/mem.h"

enum { PATH = 4096 };

static const char variable[] = "SAEDIFF_CUDA_MODULE", file[] = "libsaediff_cuda.so", driver[] = "libcuda.so.1";

static const sd_backend *loaded;

static const sd_module_host host = {
    .layout = SD_MODULE_LAYOUT,
    .version = SAEDIFF_VERSION,
    .fail = sd_fail,
    .alloc = sd_alloc_bytes,
    .free = sd_free,
    .dtype_size = sd_dtype_size,
    .dtype_name = sd_dtype_name,
    .error = sd_error,
};

/* Path of the module; false if it does not exist. */
static bool find(char path[PATH])
{
    static const char *const places[] = {"", "../lib/saediff/"};
    const char *given = getenv(variable);
    char self[PATH];
    ssize_t length;

    if (given != NULL) {
        snprintf(path, PATH, "%s", given);
        return access(path, R_OK) == 0;
    }
    length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length <= 0)
        return false;
    self[length] = '\0';
    if (strrchr(self, '/') != NULL)
        strrchr(self, '/')[1] = '\0';
    for (int i = 0; i < 2; i++) {
        int written = snprintf(path, PATH, "%s%s%s", self, places[i], file);

        if (written > 0 && written < PATH && access(path, R_OK) == 0)
            return true;
    }
    return false;
}

/* The driver stays loaded: the module looks for it by the same name. */
static bool has_driver(void)
{
    static void *handle;

    if (handle == NULL)
        handle = dlopen(driver, RTLD_LAZY | RTLD_LOCAL);
    return handle != NULL;
}

bool sd_module_promising(void)
{
    char path[PATH];

    return loaded != NULL || (find(path) && has_driver());
}

sd_status sd_module_open(const sd_backend **backend)
{
    sd_module_entry entry = NULL;
    char path[PATH];
    void *handle = NULL, *symbol;
    sd_status st = SD_OK;

    if (loaded != NULL)
        goto out;
    if (!find(path)) {
        if (getenv(variable) != NULL)
            st = SD_FAIL(SD_E_ENV, "device 'cuda': the file '%s', which %s names, cannot be read", path, variable);
        else
            st = SD_FAIL(SD_E_ENV, "device 'cuda': its module %s is neither in the directory of the program nor in ../lib/saediff relative to it; build with the CUDA "
                                   "toolkit (SAEDIFF_CUDA=ON), or name it in %s", file, variable);
        goto out;
    }
    if (!has_driver()) {
        st = SD_FAIL(SD_E_ENV, "device 'cuda': this machine has no NVIDIA driver (%s)", driver);
        goto out;
    }
    handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        st = SD_FAIL(SD_E_ENV, "device 'cuda': its module does not load: %s", dlerror());
        goto out;
    }
    symbol = dlsym(handle, SD_MODULE_ENTRY);
    memcpy(&entry, &symbol, sizeof entry); /* ISO C has no conversion between the two kinds of pointer */
    loaded = entry != NULL ? entry(&host) : NULL;
    if (loaded == NULL)
        st = SD_FAIL(SD_E_ENV, "device 'cuda': %s belongs to another build of saediff", path);
out:
    if (st != SD_OK && handle != NULL)
        dlclose(handle);
    *backend = st == SD_OK ? loaded : NULL;
    return st;
}

void sd_module_use(const sd_backend *backend)
{
    loaded = backend;
}
