#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "app.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/store/file.h"

/* Checks that all output was written: a full disk or a closed file shows only when it is flushed. */
static sd_status finish_output(void)
{
    errno = 0;
    if (fflush(stdout) != 0 || ferror(stdout))
        return SD_FAIL(SD_E_ENV, "standard output: not all of it could be written: %s", errno != 0 ? strerror(errno) : "a write failed");
    return SD_OK;
}

int main(int argc, char **argv)
{
    const app_command *command = NULL;
    app_options options = {0};
    uint64_t broken;
    sd_par par;
    sd_status st;

    st = sd_par_begin(&par, &argc, &argv);
    if (st != SD_OK) {
        fprintf(stderr, "error: %s\n", sd_last_error());
        return sd_exit_code(st);
    }
    st = sd_log_open(&(sd_log_spec){.enabled = par.rank == 0});
    if (st == SD_OK)
        st = app_read_args(argc, argv, &command, &options);
    if (st == SD_OK)
        st = sd_par_agree(&par, sd_log_open(&(sd_log_spec){par.rank == 0, options.quiet, options.log}));
    if (st == SD_OK)
        st = command->run(&par, command, &options);
    if (st == SD_OK)
        st = finish_output();
    if (st == SD_E_STOPPED)
        sd_warn("%s", sd_last_error());
    else if (st == SD_E_INTERNAL)
        sd_error("%s (at %s; this is a defect of saediff %s, please report it)", sd_last_error(), sd_last_error_location(),
                 SAEDIFF_VERSION);
    else if (st != SD_OK)
        sd_error("%s", sd_last_error());
    sd_log_close();
    sd_free(options.command_line);
    broken = sd_store_is_broken();
    if (sd_par_max_u64(&par, &broken, 1) == SD_OK && broken)
        sd_par_leave(&par, st);
    sd_par_end(&par);
    return sd_exit_code(st);
}
