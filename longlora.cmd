@echo off
rem Builds the command line when needed, then runs it: longlora <verb> ...
setlocal
if "%LONGLORA_TORCH_BACKEND%"=="" set LONGLORA_TORCH_BACKEND=cpu
set "LOG=%TEMP%\longlora-build-%RANDOM%.log"
dotnet build "%~dp0src\LongLora.Cli" -c Release -v quiet -nologo -p:TorchBackend=%LONGLORA_TORCH_BACKEND% > "%LOG%" 2>&1
if errorlevel 1 (
    type "%LOG%" >&2
    del "%LOG%"
    exit /b 1
)
del "%LOG%"
dotnet "%~dp0src\LongLora.Cli\bin\Release\net10.0\LongLora.Cli.dll" %*
exit /b %errorlevel%
