/* run.json: times, hosts and rates. It is the only file in which two equal runs differ; the program does not read it. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "run_private.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/file.h"

enum { HOST = 64 };

static sd_status write_record(const run *r, sd_status result, const char *hosts)
{
    char *path = NULL, when[32] = "";
    time_t now = time(NULL);
    struct tm utc;
    sd_str s = {0};
    sd_status st;

    if (gmtime_r(&now, &utc) != NULL)
        strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &utc);
    sd_str_add(&s, "{\n  \"saediff\": \"%s\",\n  \"command\": \"%s\",\n  \"ended\": \"%s\",\n  \"exit\": %d,\n",
               SAEDIFF_VERSION, r->spec->command, when, sd_exit_code(result));
    sd_str_add(&s, "  \"ranks\": %d,\n  \"threads\": %d,\n  \"device\": \"%s\",\n  \"hosts\": [", r->par->size, r->threads,
               sd_dev_describe(r->dev));
    for (int i = 0; i < r->par->size; i++)
        sd_str_add(&s, "%s\"%s\"", i ? ", " : "", hosts + i * HOST);
    sd_str_add(&s, "],\n  \"tokens\": %llu,\n  \"artefacts_made\": %llu,\n  \"seconds\": {",
               (unsigned long long)(r->tokens ? r->tokens->tokens : 0), (unsigned long long)r->made);
    for (int i = 0, n = 0; i < SD_STAGES; i++)
        if (r->seconds[i] > 0)
            sd_str_add(&s, "%s\"%s\": %.3f", n++ ? ", " : "", sd_stage_name((sd_stage_id)i), r->seconds[i]);
    sd_str_add(&s, "}\n}\n");
    SD_TRY(st, s.status);
    SD_TRY(st, run_full_path(r, "run.json", &path));
    SD_TRY(st, sd_file_write(path, s.text, s.length));
out:
    sd_free(path);
    sd_str_free(&s);
    return st;
}

sd_status run_record(run *r, sd_status result)
{
    char host[HOST] = "", *hosts = NULL, kept[SD_ERROR_TEXT], location[SD_ERROR_LOCATION];
    uint64_t bytes = (uint64_t)r->par->size * HOST;
    sd_status st;

    snprintf(kept, sizeof kept, "%s", sd_last_error());
    snprintf(location, sizeof location, "%s", sd_last_error_location());
    gethostname(host, sizeof host - 1);
    st = r->par->rank == 0 ? SD_NEW(&hosts, bytes) : SD_OK;
    SD_TRY(st, sd_par_agree(r->par, st));
    SD_TRY(st, sd_par_gather(r->par, host, HOST, hosts, bytes));
    st = sd_par_agree(r->par, r->par->rank == 0 ? write_record(r, result, hosts) : SD_OK);
out:
    sd_free(hosts);
    if (result != SD_OK)
        sd_fail_from(result, location, kept); /* restores the run's own failure as the last error */
    return st;
}
