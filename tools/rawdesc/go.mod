module heddle.local/rawdesc

go 1.26
